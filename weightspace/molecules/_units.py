"""Units of published data sets in eV: each reader converts once."""

KCAL_MOL = 0.0433641
"""One kcal/mol in eV, rounded as in the tables that rMD17 is reported in (1 meV = 0.0230605 kcal/mol)."""

HARTREE = 27.211386245988
"""One Hartree in eV (CODATA 2018)."""

KJ_MOL = 0.010364269656262175
"""One kJ/mol in eV (CODATA 2018)."""

BOHR = 0.529177210544
"""One Bohr radius in Å (CODATA 2022)."""
