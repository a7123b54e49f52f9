"""Schemas of the custom resources in the manifests, as far as their fields are in use.

Kubernetes' own schemas do not have these resources.
"""

from tests.support.kustomize import Document

SERVICE_MONITOR = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": "ServiceMonitor"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["selector", "endpoints"],
            "properties": {
                "jobLabel": {"type": "string"},
                "selector": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"matchLabels": {"additionalProperties": {"type": "string"}}},
                },
                "endpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "port": {"type": "string"},
                            "path": {"type": "string", "pattern": "^/"},
                            "interval": {"type": "string", "pattern": "^[0-9]+s$"},
                            "scrapeTimeout": {"type": "string", "pattern": "^[0-9]+s$"},
                        },
                    },
                },
            },
        },
    },
}
"""The schema of the fields of a ServiceMonitor in use."""


def _record(*required: str, **properties: Document) -> Document:
    """Return the schema of an object with these properties and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


STRING: Document = {"type": "string"}
NUMBER: Document = {"type": "integer", "minimum": 0}
OBJECT: Document = {"type": "object"}
STRINGS: Document = {"type": "object", "additionalProperties": STRING}
GROUP = {"rayStartParams": STRINGS, "template": _record("spec", metadata=OBJECT, spec=OBJECT)}
RAY_SERVICE = _record(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayService"},
    metadata={"type": "object", "required": ["name"]},
    spec=_record(
        "serveConfigV2",
        "rayClusterConfig",
        serveConfigV2=STRING,
        rayClusterConfig=_record(
            "headGroupSpec",
            "workerGroupSpecs",
            rayVersion=STRING,
            enableInTreeAutoscaling={"type": "boolean"},
            autoscalerOptions=_record(
                idleTimeoutSeconds=NUMBER,
                resources=OBJECT,
                securityContext=OBJECT,
                volumeMounts={"type": "array"},
            ),
            gcsFaultToleranceOptions=_record(
                "redisAddress", redisAddress=STRING, redisPassword=OBJECT
            ),
            headGroupSpec=_record(*GROUP, **GROUP),
            workerGroupSpecs={
                "type": "array",
                "items": _record(
                    "groupName",
                    *GROUP,
                    **GROUP,
                    groupName=STRING,
                    replicas=NUMBER,
                    minReplicas=NUMBER,
                    maxReplicas=NUMBER,
                ),
            },
        ),
    ),
)
"""The schema of the fields of a RayService in use; its pods are checked by Kubernetes' schema."""
POD_MONITOR = _record(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "PodMonitor"},
    metadata={"type": "object", "required": ["name"]},
    spec=_record(
        "selector",
        "podMetricsEndpoints",
        selector=_record("matchLabels", matchLabels=STRINGS),
        podMetricsEndpoints={
            "type": "array",
            "items": _record(
                "port",
                port=STRING,
                path=STRING,
                interval=STRING,
                scrapeTimeout=STRING,
                relabelings={
                    "type": "array",
                    "items": _record(
                        "targetLabel",
                        targetLabel=STRING,
                        replacement=STRING,
                        sourceLabels={"type": "array", "items": STRING},
                    ),
                },
            ),
        },
    ),
)
