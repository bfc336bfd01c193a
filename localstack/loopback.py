"""Starts LocalStack on 127.0.0.1 only.

Its web server takes the port from GATEWAY_LISTEN but ignores the address, and
so would serve every interface of this machine.
"""

import functools

from twisted.internet import endpoints

endpoints.TCP4ServerEndpoint = functools.partial(
    endpoints.TCP4ServerEndpoint, interface="127.0.0.1"
)

from localstack.runtime.main import main  # noqa: E402  (after the patch)

main()
