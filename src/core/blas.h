/* What the runtime must do before a kernel may call OpenBLAS. */
#ifndef TC_CORE_BLAS_H
#define TC_CORE_BLAS_H

/**
 * Sets OpenBLAS to one thread in the whole process (our pool splits the work) and readies the gate
 * that bounds how many threads are inside it. Idempotent, thread-safe.
 */
void tc_blas_initialize(void);

#endif
