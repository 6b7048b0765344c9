"""What runs an image tower on a CPU besides torch: ONNX Runtime and OpenVINO, in float or in int8."""

import sys

# A moderation service reports to nobody: without this package OpenVINO and NNCF send no usage statistics.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
