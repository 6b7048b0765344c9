"""What whoever runs the tests may have set, and no test wants."""

import os
import signal

# Ignored (`nohup`), it is ignored by all that the tests start, too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Tables are as wide as this says from the moment on that they are imported; parallel runs set it.
os.environ.pop("COLUMNS", None)
