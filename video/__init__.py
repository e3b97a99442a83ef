"""Frames in (file, folder, MOT sequence, camera, stream) and results out (video, MOT text, JSON lines, window)."""
