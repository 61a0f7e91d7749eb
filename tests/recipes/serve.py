"""`python -m tests.recipes.serve MODEL PORT`: the tests' HTTP server under a name and port that are given."""

import sys
import threading

from tests.data_prep.bad_server import BadServer

server = BadServer(sys.argv[1])
server.die()
server.port = int(sys.argv[2])
server.start()
threading.Event().wait()
