"""CAM methods, one small file each."""
