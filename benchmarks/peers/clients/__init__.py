"""One module for each peer: how its documentation says that these jobs are done.

Each has a class ``Client``. These modules run in the environment of their peer, with nothing else
of this repository's than `peer.py` beside them.
"""
