"""Tests of the image, the compose file, the Kubernetes manifests and the monitoring."""
