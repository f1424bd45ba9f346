"""What `synde run` does on a home, made to be killed: `python -m synde_pipeline_tests.defs.run_work HOME`."""

import os
import sys

if __name__ == "__main__":
    os.environ["SYNDE_HOME"] = sys.argv[1]
    from synde_pipeline.defs.run import run
    from synde_pipeline.settings import load

    print("started", flush=True)
    run(load())
