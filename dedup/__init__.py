"""Who may do what once: claims, records and publishing over Redis, for candles, signals, and any other work."""
