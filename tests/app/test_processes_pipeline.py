"""One stream in processes: the same results as in threads, and an end without a hang or an orphan whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import blob_network, clip_files, material
from support.processes import tracking

from fairmot.core.processes import CAN_SHARE_MEMORY
from run_track import main

pytestmark = pytest.mark.skipif(not CAN_SHARE_MEMORY, reason="there is no memory that processes share without a name")
