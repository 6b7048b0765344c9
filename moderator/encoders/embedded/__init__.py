"""The encoder that ships with the project: real weights from ordinary packages."""
