"""Start the server with everything that views import already there, so that the first reader waits for none of it.

Usage: python -m dashboard [--option=value of Streamlit...] -- RUNS SCENARIOS JOBS
"""

import importlib
import sys
from pathlib import Path

from streamlit.web import cli

ROOMS = (
    "marketplace.auction_charts", "marketplace.charts", "marketplace.contrast", "marketplace.cost_charts",
    "marketplace.experiment_charts", "marketplace.jobs", "marketplace.landscape", "marketplace.listing",
    "marketplace.model_charts", "marketplace.one_request", "marketplace.pacing_charts", "marketplace.user_charts",
    "dashboard.sliced",
)  # fmt: skip

for room in ROOMS:
    importlib.import_module(room)
sys.argv = ["streamlit", "run", str(Path(__file__).with_name("app.py")), *sys.argv[1:]]
cli.main()
