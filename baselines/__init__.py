"""What is compared: backbones, heads and CAM methods, each registered under a name."""
