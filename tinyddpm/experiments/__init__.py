"""What the pages measure, each a command that writes its results and can be stopped and repeated; nothing imports it."""
