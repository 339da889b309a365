"""Whom the pods may speak to, and who may speak to them."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

from casemate.formats.deployment import Deployment, Endpoint

DNS_PORT: Final = 53
#: Where NodeLocal DNSCache listens; its pods are in the host's network and match no selector.
_NODE_LOCAL_DNS: Final = "169.254.20.10/32"
#: ``service.namespace.svc`` and ``service.namespace.svc.cluster.local``.
_CLUSTER_SERVICE: Final = re.compile(r"[^.]+\.(?P<namespace>[^.]+)\.svc(\.[a-z0-9.-]+)?\.?")


def ingress(deployment: Deployment) -> list[dict[str, Any]]:
    """The application's port, from anywhere: clients verify the enclave, not the other way round."""
    return [{"ports": [{"protocol": "TCP", "port": deployment.port}]}]


def egress(deployment: Deployment) -> list[dict[str, Any]]:
    """The cluster's name service and the broker; the quoting service is reached through a socket file."""
    if deployment.broker is None:
        return []
    rules = [] if _address(deployment.broker.host) else [_name_service()]
    return [*rules, _towards(deployment.broker)]


def _name_service() -> dict[str, Any]:
    return {
        "to": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            },
            {"ipBlock": {"cidr": _NODE_LOCAL_DNS}},
        ],
        "ports": [{"protocol": "UDP", "port": DNS_PORT}, {"protocol": "TCP", "port": DNS_PORT}],
    }


def _towards(endpoint: Endpoint) -> dict[str, Any]:
    """The port of ``endpoint``, at its address or in its namespace when the host tells it.

    Policies know addresses and labels, no names: a broker outside the cluster that has a name is allowed by
    its port alone.
    """
    rule: dict[str, Any] = {}
    address = _address(endpoint.host)
    service = _CLUSTER_SERVICE.fullmatch(endpoint.host)
    if address is not None:
        rule["to"] = [{"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}]
    elif service is not None:
        labels = {"kubernetes.io/metadata.name": service["namespace"]}
        rule["to"] = [{"namespaceSelector": {"matchLabels": labels}}]
    rule["ports"] = [{"protocol": "TCP", "port": endpoint.port}]
    return rule


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
