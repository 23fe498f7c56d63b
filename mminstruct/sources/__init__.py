"""Where images come from: archives, folders, tables and addresses, each read as a stream of samples and drops."""
