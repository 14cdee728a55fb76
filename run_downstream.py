"""S3PRL's familiar command, from a plain clone: ``python run_downstream.py -d lid_mapmix -u fbank --data DIR``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "downstream"))

from lid_mapmix.apps.runs.launch import main
from lid_mapmix.utils.garbage import collect_none_at_exit
from lid_mapmix.utils.threads import set_threads

if __name__ == "__main__":
    set_threads()
    collect_none_at_exit()
    sys.exit(main())
