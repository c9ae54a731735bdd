"""Numbers that papers and their repositories report, shown beside measured ones and never mixed with them."""

from dataclasses import dataclass

PONITA = "github.com/ebekkers/ponita, README (Bekkers et al. 2024, arXiv 2310.02970)"


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


_PONITA_RMD17 = {
    "aspirin": (1.7, 5.8),
    "azobenzene": (0.7, 2.3),
    "benzene": (0.17, 0.3),
    "ethanol": (0.4, 2.5),
    "malonaldehyde": (0.6, 4.0),
    "naphthalene": (0.3, 1.3),
    "paracetamol": (1.1, 4.3),
    "salicylic": (0.7, 3.3),
    "toluene": (0.3, 1.3),
    "uracil": (0.4, 2.4),
}
PUBLISHED: tuple[Published, ...] = (
    *(
        Published(f"rmd17:{name}", "test", "PONITA", f"{energy} meV / {forces} meV/Å MAE, 950 frames", PONITA)
        for name, (energy, forces) in _PONITA_RMD17.items()
    ),
    Published("nbody", "test", "PONITA", "MSE .0043", PONITA),
)


def published_for(data: str) -> list[Published]:
    """What is published for a data set."""
    return [found for found in PUBLISHED if found.data == data]
