"""Numbers that papers and their repositories report, shown beside measured ones and never mixed with them.

Only what has been read in the place that `source` names is here (tables of papers, in transcriptions). Draws of
molecules, budgets and machines are the authors' own. "of kgcnn" marks that library's implementation.
"""

from dataclasses import dataclass

PONITA = "github.com/ebekkers/ponita at a584aa2, README (Bekkers et al. 2024, arXiv 2310.02970)"
MACE = "Batatia et al. 2022, arXiv 2206.07697"
TENSORNET = "Simeon and De Fabritiis 2023, arXiv 2306.06482, as listed at wizwand.com/paper/68fa45a51e209131ce91a24f"
KGCNN = "github.com/aimat-lab/gcnn_keras at 140728c, training/results/README.md"
MEV = 43.3641  # of a kcal/mol


@dataclass(frozen=True)
class Published:
    """A published result.

    Args:
        data: name of the data set.
        test: label of the test part.
        model: as its authors call it.
        text: errors with their unit and kind.
        source: where it stands.
    """

    data: str
    test: str
    model: str
    text: str
    source: str


# energy in meV, forces in meV/Å; table 1 gives NequIP's naphthalene another energy than PONITA's README: left out
_RMD17_TABLE = """
               MACE       Allegro    BOTNet     NequIP
aspirin        2.2/6.6    2.3/7.3    2.3/8.5    2.3/8.2
azobenzene     1.2/3.0    1.2/2.6    0.7/3.3    0.7/2.9
benzene        0.4/0.3    0.3/0.2    0.03/0.3   0.04/0.3
ethanol        0.4/2.1    0.4/2.1    0.4/3.2    0.4/2.8
malonaldehyde  0.8/4.1    0.6/3.6    0.8/5.8    0.8/5.1
naphthalene    0.5/1.6    0.2/0.9    0.2/1.8    -
paracetamol    1.3/4.8    1.5/4.9    1.3/5.8    1.4/5.9
salicylic      0.9/3.1    0.9/2.9    0.8/4.3    0.7/4.0
toluene        0.5/1.5    0.4/1.8    0.3/1.9    0.3/1.6
uracil         0.5/2.1    0.6/1.8    0.4/3.2    0.4/3.1
"""
_RMD17_PONITA = """
               PONITA     PNITA
aspirin        1.7/5.8    4.7/16.3
azobenzene     0.7/2.3    3.2/12.2
benzene        0.17/0.3   0.2/0.4
ethanol        0.4/2.5    0.7/4.1
malonaldehyde  0.6/4.0    0.9/5.1
naphthalene    0.3/1.3    1.1/5.6
paracetamol    1.1/4.3    2.8/11.4
salicylic      0.7/3.3    1.7/8.6
toluene        0.3/1.3    0.6/3.4
uracil         0.4/2.4    0.9/5.6
"""
_RMD17_KGCNN = """
               SchNet     EGNN       PaiNN
aspirin        0.9862     2.0576     0.7901
benzene        0.2521     0.3059     0.0414
ethanol        0.4270     0.5360     0.5676
malonaldehyde  0.6461     1.0048     0.7496
toluene        0.5378     0.8262     0.2497
"""
_ACAC_TABLE = """
        MACE       NequIP     BOTNet
300_K   0.9/5.1    0.81/5.90  0.89/6.3
600_K   4.6/22.4   6.04/27.8  6.2/29.8
"""
_3BPA_TABLE = """
        MACE_(L=2)  NequIP_(L=3)  BOTNet_(L=3)  Allegro_(L=3)
300_K   3.0/8.8     3.3/10.8      3.1/11.0      3.84/12.98
600_K   9.7/21.8    11.2/26.4     11.5/26.7     12.07/29.17
1200_K  29.8/62.0   38.5/76.2     39.1/81.1     42.57/82.96
"""


def _entries(table: str) -> list[tuple[str, str, str]]:
    """Row, model and number of every cell that is not "-"; underscores stand for spaces."""
    head, *rows = [line.replace("_", " ").split("  ") for line in table.strip("\n").splitlines()]
    models = [word.strip() for word in head if word.strip()]
    cells = [[word.strip() for word in row if word.strip()] for row in rows]
    return [(row[0], model, cell) for row in cells for model, cell in zip(models, row[1:], strict=True) if cell != "-"]


def _both(cell: str, kind: str) -> str:
    energy, forces = cell.split("/")
    return f"{energy} meV / {forces} meV/Å {kind}"


PUBLISHED: tuple[Published, ...] = (
    *(
        Published(f"rmd17:{row}", "test", model, _both(cell, "MAE, 950 frames"), f"{MACE}, table 1")
        for row, model, cell in _entries(_RMD17_TABLE)
    ),
    *(
        Published(f"rmd17:{row}", "test", model, _both(cell, "MAE, 950 frames"), f"{PONITA}, MD17")
        for row, model, cell in _entries(_RMD17_PONITA)
    ),
    Published("rmd17:aspirin", "test", "TensorNet", _both("2.4/8.9", "MAE"), TENSORNET),
    *(
        Published(
            f"rmd17:{row}",
            "test",
            f"{model}, of kgcnn",
            f"forces {float(cell) * MEV:.3g} meV/Å MAE ({cell} kcal/mol/Å), 1,000 frames",
            f"{KGCNN}, MD17RevisedDataset",
        )
        for row, model, cell in _entries(_RMD17_KGCNN)
    ),
    *(
        Published("acac", row, model, _both(cell, "RMSE, 450 frames"), f"{MACE}, table 3")
        for row, model, cell in _entries(_ACAC_TABLE)
    ),
    *(
        Published("3bpa", row, model, _both(cell, "RMSE, official test sets, not ours"), f"{MACE}, table 2")
        for row, model, cell in _entries(_3BPA_TABLE)
    ),
    *(
        Published("nbody", "test", model, f"MSE {error}", f"{PONITA}, N-body")
        for model, error in {"PONITA": ".0043", "SEGNN": ".0043", "EGNN": ".0070"}.items()
    ),
    Published("nbody", "test", "multivector neurons", "MSE .0035", "Liu et al. 2024, arXiv 2406.04052, abstract"),
    *(
        Published("qm9:U0", "test", model, f"{error} meV MAE", f"{PONITA}, QM9")
        for model, error in {
            "PONITA (16 orientations)": 8.31,
            "PONITA (atoms lifted along bonds)": 9.20,
            "PNITA": 10.71,
            "DimeNet++": 8.02,
        }.items()
    ),
    *(
        Published("qm9:U0", "test", f"{model}, of kgcnn", f"{error} meV MAE, random folds", f"{KGCNN}, QM9Dataset")
        for model, error in {"EGNN": 8.1, "PaiNN": 7.5, "SchNet": 11.6}.items()
    ),
    *(
        Published(
            "qm7", "test", f"{model}, of kgcnn", f"{error} kcal/mol MAE, 5 folds of 7,165", f"{KGCNN}, QM7Dataset"
        )
        for model, error in {"PaiNN": 1.27, "EGNN": 1.62, "SchNet": 2.58, "DimeNet++": 2.73}.items()
    ),
)


def published_for(data: str) -> list[Published]:
    """What is published for a data set."""
    return [found for found in PUBLISHED if found.data == data]
