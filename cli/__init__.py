"""What commands share: their options, their signals, what they say where a package is not installed."""
