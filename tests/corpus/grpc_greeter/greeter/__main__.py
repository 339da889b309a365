"""A gRPC service with its own server."""

import os
import signal
from concurrent import futures

import grpc
from google.protobuf import json_format
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from greeter import greeter_pb2, greeter_pb2_grpc


class Greeter(greeter_pb2_grpc.GreeterServicer):
    def Greet(self, request, context):
        if not request.name:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no name")
        details = json_format.MessageToJson(request.details, sort_keys=True)
        day = request.when.ToDatetime().date().isoformat()
        return greeter_pb2.Greeting(text=f"Hello {request.name}, {day}, {details}")

    def GreetAll(self, request, context):
        for name in request.name.split(","):
            yield greeter_pb2.Greeting(text=f"Hello {name}")


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    greeter_pb2_grpc.add_GreeterServicer_to_server(Greeter(), server)
    checks = health.HealthServicer()
    checks.set("greeter.Greeter", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = (greeter_pb2.DESCRIPTOR.services_by_name["Greeter"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    server.add_insecure_port(os.environ.get("GREETER_ADDRESS", "0.0.0.0:50051"))
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop(1))
    server.wait_for_termination()


if __name__ == "__main__":
    main()
