"""Everything we keep, in one SQLite file. The only module family that speaks SQL."""
