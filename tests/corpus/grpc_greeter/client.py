"""Asks the service for everything that it has; prints the answers."""

import json
import sys

import grpc
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from greeter import greeter_pb2, greeter_pb2_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    grpc.channel_ready_future(channel).result(timeout=60)
    stub = greeter_pb2_grpc.GreeterStub(channel)
    name = json_format.ParseDict(
        {"name": "Ada", "when": "2024-02-29T12:00:00Z", "details": {"a": [1, "b", None]}}, greeter_pb2.Name()
    )
    answers = {"greet": stub.Greet(name).text}
    answers["all"] = [one.text for one in stub.GreetAll(greeter_pb2.Name(name="a,b,c"))]
    try:
        stub.Greet(greeter_pb2.Name())
    except grpc.RpcError as error:
        answers["refused"] = f"{error.code().name}: {error.details()}"
    check = health_pb2.HealthCheckRequest(service="greeter.Greeter")
    answers["health"] = str(health_pb2_grpc.HealthStub(channel).Check(check))
    question = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    for answer in reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(question):
        answers["services"] = [service.name for service in answer.list_services_response.service]
print(json.dumps(answers))
