"""The key broker as a program: its socket, its TLS identity, and uvicorn with a deadline for every step."""

from casemate.adapters.broker_server.connection import ConnectionLimits
from casemate.adapters.broker_server.server import Address, BrokerServer, bind, has_certificates

__all__ = ["Address", "BrokerServer", "ConnectionLimits", "bind", "has_certificates"]
