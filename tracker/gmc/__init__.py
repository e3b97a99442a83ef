"""Global motion compensation (GMC): the camera's motion between two frames, so that tracks are predicted in its frame.

Two estimators, which can be combined:

- `shift`, from the detections alone: the translation that most tracks and their nearest detections share. It costs some
  0.06 ms a frame, needs no image and at least six tracks, and is on by default (`TrackerSettings.gmc_from_detections`).
  It is this project's own; the shrinkage follows James and Stein (1961).
- `flow`, from the images: translation, rotation and scale by sparse optical flow of the background, as BoT-SORT (Aharon
  et al., 2022) estimates it. It costs some 9 ms a frame of 1920x1080 on one core and works without tracks; use it for a
  moving or zooming camera. Its matrix goes to `FairMOTTracker.move` before `update`.
"""
