//! What can not stand twice, said before anything is touched.
