"""S3PRL on current versions of its dependencies: ``import lid_mapmix.s3prl`` before ``import s3prl``.

    python -m lid_mapmix.s3prl SCRIPT.py [ARGUMENTS]
    python -m lid_mapmix.s3prl -m MODULE [ARGUMENTS]

run a script or a module that uses S3PRL. Inside this package S3PRL is imported by its absolute name, which this module
does not hide.
"""

import sys

from .host.compat import run_script
from .host.runner import prepare

prepare()

if __name__ == "__main__":
    run_script(sys.argv[1:])
