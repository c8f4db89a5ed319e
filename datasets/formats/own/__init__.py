"""Annotations as people's tools write them: COCO, CSV, VOC, YOLO."""
