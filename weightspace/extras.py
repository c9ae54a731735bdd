"""How to get the optional packages."""

MOL = "install the extra mol (from a clone: pip install -c constraints.txt -e '.[mol]')"
"""What an error says where ase, vesin or tblite are missing."""
