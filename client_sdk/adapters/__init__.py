"""One module or folder per technology: the encrypted file, the wire, keys, the machine, and memory."""
