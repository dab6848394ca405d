"""Images inside tar, Parquet and Arrow files, read in place: nothing is unpacked."""
