"""Chemical symbols, for formats that are read without ASE."""

from weightspace.errors import MoleculeError

SYMBOLS = tuple(
    (
        "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr "
        "Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W "
        "Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt "
        "Ds Rg Cn Nh Fl Mc Lv Ts Og"
    ).split()
)
NUMBERS = {symbol: z for z, symbol in enumerate(SYMBOLS, 1)}


def atomic_number(symbol: str, where: str) -> int:
    """The atomic number of a chemical symbol.

    Raises:
        MoleculeError: no such element.

    Example:
        >>> atomic_number("Cl", "a file")
        17
    """
    if symbol not in NUMBERS:
        raise MoleculeError(f"{where}: found element {symbol!r}, wanted a symbol of the periodic table")
    return NUMBERS[symbol]


def symbol_of(number: int) -> str:
    """The chemical symbol of an atomic number, or the number where it is none.

    Example:
        >>> symbol_of(17), symbol_of(0)
        ('Cl', '0')
    """
    return SYMBOLS[number - 1] if 0 < number <= len(SYMBOLS) else str(number)
