"""Extended XYZ text for tests."""

import numpy as np

HEAD = 'Properties=species:S:1:pos:R:3:forces:R:3 energy={energy} pbc="F F F"'


def water(rng: np.random.Generator, *, head: str = HEAD, symbols: tuple[str, ...] = ("O", "H", "H")) -> str:
    pos = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]) + 0.05 * rng.standard_normal((3, 3))
    force = rng.standard_normal((3, 3))
    rows = [f"{s} " + " ".join(f"{v:.17g}" for v in [*p, *f]) for s, p, f in zip(symbols, pos, force, strict=True)]
    return "\n".join(["3", head.format(energy=-2080 + rng.standard_normal()), *rows]) + "\n"


def write_waters(path, count: int, *, seed: int = 0, head: str = HEAD) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(water(rng, head=head) for _ in range(count)))
