//! A running replica: the threads that drive a stack, and the embedded API.
