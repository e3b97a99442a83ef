"""Global motion compensation: how the camera moved between two frames."""
