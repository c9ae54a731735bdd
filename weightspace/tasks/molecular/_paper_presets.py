"""The models as their authors published them: sizes and training for rMD17, or the nearest task that they published.

Losses are converted to the one of `MolecularTraining`. Where authors weigh squared errors of whole energies by w_E, and
of force components by w_F, with energies in a unit of u eV,

    w_E (dE / u)^2 + w_F (dF / u)^2 = (w_E n^2 / u^2) (dE / n)^2 + (w_F / u^2) dF^2,

which holds for molecules of n atoms: here n = 21, those of aspirin, the molecule in the authors' configurations. For
other molecules these energy weights are to be multiplied by (n / 21)^2 (by n / 21 for "mae"). What deviates in all:
AdamW with betas .9 and .99, where the authors have Adam or AdamW with .9 and .999; and what `source` says.
"""

from weightspace.tasks.molecular._entry import BenchmarkModel, MolecularTraining

GEOMETRIC = "weightspace.geometric:"
ATOMS = 21
WHOLE = ATOMS**2  # turns weights of squared whole energies into those of squared energies per atom
KCAL = (1 / 0.0433641) ** 2  # turns weights of squared kcal/mol into those of squared eV
OC20 = 2.887317180633545  # eV: what the OC20 configuration divides energies and forces by
NO_CLIP = 1e9  # a norm that no gradient has
SCHEDULE = "learning rate falls when validation stalls there, by a cosine here"

_SCHNET = BenchmarkModel(
    "schnet-paper",
    f"{GEOMETRIC}SchNet",
    {"channels": 128, "layers": 6, "num_rbf": 20, "cutoff": 5.0, "cutoff_fn": "cosine"},
    MolecularTraining(
        learning_rate=1e-3,
        batch_size=10,
        energy_weight=0.01 * WHOLE * KCAL,
        force_weight=0.99 * KCAL,
        loss="mse",
        ema_decay=0.995,
        warmup=0.0,
        clip=NO_CLIP,
    ),
    "rMD17: github.com/atomistic-machine-learning/schnetpack at 4c967da8, src/schnetpack/configs: "
    "experiment/rmd17.yaml with model/representation/schnet.yaml, data/rmd17.yaml, callbacks/ema.yaml, "
    "task/optimizer/adam.yaml, trainer/default_trainer.yaml; "
    ".01 and .99 of squared whole energies and forces in kcal/mol; " + SCHEDULE,
)
_EGNN = BenchmarkModel(
    "egnn-paper",
    f"{GEOMETRIC}EGNN",
    {"channels": 128, "layers": 7, "attention": True, "update_coordinates": False},
    MolecularTraining(
        learning_rate=5e-4, batch_size=96, loss="mae", ema_decay=None, weight_decay=1e-16, warmup=0.0, clip=NO_CLIP
    ),
    "QM9's energies, as no task with forces is published: github.com/vgsatorras/egnn at e9ca6c0, README.md, "
    "main_qm9.py and qm9/models.py; absolute errors of whole energies there, per atom here (sizes differ, so no weight "
    "makes them equal); cosine as there; the weight of forces is this benchmark's, not published",
)
_TENSORNET = BenchmarkModel(
    "tensornet-paper",
    f"{GEOMETRIC}TensorNet",
    {"channels": 128, "layers": 2, "num_rbf": 32, "cutoff": 4.5, "cutoff_fn": "cosine", "trainable_rbf": False},
    MolecularTraining(
        learning_rate=1e-3,
        batch_size=8,
        energy_weight=0.5 * 0.01 * WHOLE * KCAL,
        force_weight=0.5 * KCAL,
        loss="mse",
        ema_decay=None,
        clip=40.0,
    ),
    "rMD17: github.com/torchmd/torchmd-net at 833c077, examples/TensorNet-rMD17.yaml and torchmdnet/module.py; .5 and "
    ".5 of squared whole energies and forces in kcal/mol, and the energies' gradient by .01 more (ema_alpha_y: a "
    "moving average of the loss); warm-up of 500 steps there, this benchmark's share here; " + SCHEDULE,
)
_PONITA = BenchmarkModel(
    "ponita-paper",
    f"{GEOMETRIC}Ponita",
    {"channels": 128, "layers": 5, "grid": 20, "cutoff": None, "basis_channels": 256},
    MolecularTraining(
        learning_rate=5e-4,
        batch_size=5,
        energy_weight=WHOLE / 500,
        force_weight=1.0,
        loss="mse",
        ema_decay=0.99,
        weight_decay=1e-16,
        warmup=0.02,
        clip=0.5,
    ),
    "rMD17: github.com/ebekkers/ponita at a584aa2, main_md17.py and lightning_wrappers/md17.py; 1/500 and 1 of squared "
    "whole energies and forces, both there in units of the forces' root mean square, in eV here (which matters to "
    "clipping alone); warm-up over 100 of 5,000 epochs and cosine as there; no turned copies of molecules here, and 20 "
    "fixed orientations, not random ones",
)
_NEQUIP = BenchmarkModel(
    "nequip-paper",
    f"{GEOMETRIC}NequIP",
    {
        "channels": 64,
        "layers": 5,
        "lmax": 3,
        "radial": [8, 64, 64, 64],
        "cutoff": 4.0,
        "cutoff_fn": "polynomial",
        "average_neighbours": 10.0,
    },
    MolecularTraining(
        learning_rate=0.01,
        batch_size=5,
        energy_weight=1.0 * WHOLE,
        force_weight=1000.0,
        loss="mse",
        ema_decay=0.99,
        warmup=0.0,
        clip=NO_CLIP,
    ),
    "rMD17: github.com/mir-group/nequip-input-files at 6130fe6, revmd17/revmd17-aspirin-n950-l3.yaml (ethanol's "
    "differs in 8 neighbours); 1 and 1,000 of squared whole energies and forces, both there in units of the forces' "
    "root mean square, in eV here (a factor of the loss, which Adam does not see); no AMSGrad here; " + SCHEDULE,
)
_MACE = BenchmarkModel(
    "mace-paper",
    f"{GEOMETRIC}MACE",
    {
        "shape": {
            "channels": 256,
            "layers": 2,
            "lmax": 3,
            "hidden_lmax": 2,
            "correlation": 3,
            "radial": [8, 64, 64, 64],
            "readout": 16,
            "product": "clebsch_gordan",
        },
        "cutoff": 5.0,
        "cutoff_power": 5,
    },
    MolecularTraining(
        learning_rate=0.01,
        batch_size=5,
        energy_weight=1.0,
        force_weight=1000.0,
        loss="mse",
        ema_decay=0.99,
        weight_decay=5e-7,
        warmup=0.0,
        clip=10.0,
    ),
    "rMD17, 3BPA and AcAc: arXiv 2206.07697, appendix A.5.1 (read in a transcription), with loss, radial networks and "
    "clipping of github.com/ACEsuit/mace at 60c16d01, mace/modules/loss.py, mace/modules/blocks.py and "
    "mace/tools/arg_parser.py; 1 and 1,000 of squared energies per atom (equation 15 of the paper has whole ones) and "
    "forces in eV; the paper does not say the degree of features for rMD17, hidden_lmax is that of its best 3BPA "
    "model; weight decay there of products alone, here of all matrices; no AMSGrad here; " + SCHEDULE,
)
_ESCN = BenchmarkModel(
    "escn-paper",
    f"{GEOMETRIC}ESCN",
    {
        "shape": {"channels": 128, "layers": 12, "lmax": 6, "mmax": 2, "hidden_channels": 256, "rbf_width": 2.0},
        "cutoff": 12.0,
    },
    MolecularTraining(
        learning_rate=8e-4,
        batch_size=96,
        energy_weight=2 * ATOMS / OC20,
        force_weight=100 / OC20,
        loss="mae",
        ema_decay=0.999,
        warmup=4e-4,
        clip=100.0,
    ),
    "OC20 (2 M frames of catalysts), as nothing is published for small molecules: github.com/FAIR-Chem/fairchem at "
    "31c096399, configs/oc20/s2ef/2M/escn/eSCN-L6-M2-Lay12.yml and configs/oc20/s2ef/2M/base.yml; 2 and 100 of "
    "absolute whole energies and lengths of force errors, in units of 2.887 eV; batches of 6 on 16 GPUs; warm-up of "
    "100 steps of some 250,000, then steps down there, a cosine here; forces are read out there, derivatives here; no "
    "AMSGrad here",
)
_MFN = BenchmarkModel(
    "mfn-paper",
    f"{GEOMETRIC}MatrixFunctionNetwork",
    {
        "channels": 64,
        "layers": 2,
        "lmax": 2,
        "radial": [8, 64, 64, 64],
        "resolvents": [16, 16],
        "cutoff": 3.0,
    },
    MolecularTraining(
        learning_rate=0.01,
        batch_size=4,
        energy_weight=10.0,
        force_weight=100.0,
        loss="mse",
        ema_decay=0.99,
        weight_decay=5e-7,
        warmup=0.0,
        clip=10.0,
    ),
    "cumulenes, the one task with forces whose training is published: github.com/ilyes319/mfn at c51b666, README.md, "
    "mace_mfn/tools/arg_parser.py and mace_mfn/modules/loss.py; 10 and 100 of squared energies per atom and forces in "
    "eV (1,000 and 1,000 from epoch 400 there); lmax 2 stands for features of degree 1 and harmonics of degree 3; "
    "weight decay there of products alone, here of all matrices; no AMSGrad here; " + SCHEDULE,
)
PAPERS: tuple[BenchmarkModel, ...] = (_SCHNET, _EGNN, _TENSORNET, _PONITA, _NEQUIP, _MACE, _ESCN, _MFN)
