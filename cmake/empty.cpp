// Keeps a library well-formed whose folder has only headers.
