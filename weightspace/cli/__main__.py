"""`python -m weightspace.cli`, as `weightspace`."""

import sys

from weightspace.cli import main

sys.exit(main())
