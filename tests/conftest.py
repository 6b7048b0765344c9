"""What whoever runs the tests may have set, and no test wants."""

import os
import signal

# What is ignored here (by `nohup`, or by a shell for what it runs in the background), is ignored by all that the tests
# start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tables are as wide as this says from the moment on that they are imported; parallel runs set it.
os.environ.pop("COLUMNS", None)
