"""The first program of a user: track three frames with the public API."""

import fairmot

with fairmot.open_source("demo?frames=3") as source, fairmot.open_engine() as engine:
    tracker = fairmot.FairMOTTracker(source.frame_rate)
    for frame, tracks in fairmot.track_frames(source, engine, tracker):
        print(f"frame {frame.index}: {len(tracks)} tracks, ids {tracks.ids.tolist()}")
