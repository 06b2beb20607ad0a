"""`t2 import`: stored answers of any origin become a pool. File format, token counts, and the classes a file gives."""
