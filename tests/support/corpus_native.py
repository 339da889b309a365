"""Run natively by the tests: serves an application with the attester's servers, without an enclave."""

import json
import ssl
import sys

arguments = json.loads(sys.argv[1])
# Behind the application's own distributions, like everything that Casemate adds.
sys.path.append(arguments["attester"])

from casemate_attester.configuration import Application, Interface, Listen  # noqa: E402 - after the path is set
from casemate_attester.serving import run_application  # noqa: E402

application = Application(
    interface=Interface(arguments["application"]["interface"]),
    target=arguments["application"]["target"],
    command=tuple(arguments["application"]["command"]),
    path=(arguments["path"],),
)
context = None
if application.interface is not Interface.COMMAND:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments["certificate"], arguments["key"])
run_application(application, Listen(port=arguments["port"], threads=8), context, lambda: None)
