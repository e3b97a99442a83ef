"""Many videos over the machines of a Ray cluster: `fairmot fleet`."""
