"""Accuracy of detections by COCO's measure: annotations, test-time augmentation, results.json, COCOeval."""
