/*
 * Register tiles of C += A B for one element type: T and TAG (f32, f64) are defined by
 * gemm_micro.c, which includes this once for each.
 *
 * B is read by rows, so neither operand needs packing: a packed panel is the case ldb = its width.
 * The sum over k is one chain of multiply-adds per element, in order, whatever the tile: an
 * element's bits do not depend on where the tile borders lie.
 */
#define NAME(x)     TC_PASTE3(x, _, TAG)
#define V           NAME(vector)
#define LANES       ((int)(VECTOR_BYTES / sizeof(T)))
#define LOAD(p)     (V)(*(const NAME(memory) *)(p))
#define STORE(p, v) (*(NAME(memory) *)(p) = (NAME(memory))(v))
#define FMA         NAME(FMA)
#define LOAD_PART   NAME(LOAD_PART)
#define STORE_PART  NAME(STORE_PART)

#ifdef NEEDS_LOAD_PART
static inline V NAME(load_part)(const T *p, int part)
{
    V v = {0};
    memcpy(&v, p, (size_t)part * sizeof(T));
    return v;
}
#endif

/* `rows` and `vectors` are constants in every inlined copy; `part` is 0 or the valid lanes of the
 * only vector. */
static inline __attribute__((always_inline)) void NAME(tile)(const int rows, const int vectors,
                                                             int part, int64_t k, const T *a,
                                                             int64_t a_row, int64_t a_column,
                                                             const T *b, int64_t ldb,
                                                             const int64_t *offsets, T *c,
                                                             int64_t ldc, bool accumulate)
{
    V sum[MR][WIDE];
    /* Three rows per pointer: base, base + stride and base + 2 stride are addressing modes. */
    const T *base[(MR + 2) / 3];
    UNROLL for (int i = 0; i < (rows + 2) / 3; i++) base[i] = a + 3 * i * a_row;
    UNROLL for (int i = 0; i < rows; i++)
    {
        UNROLL for (int j = 0; j < vectors; j++)
        {
            if (!accumulate)
                sum[i][j] = (V){0};
            else if (part)
                sum[i][j] = LOAD_PART(c + i * ldc, part);
            else
                sum[i][j] = LOAD(c + i * ldc + j * LANES);
        }
    }
    const T *origin = b;
    for (int64_t p = 0; p < k; p++) {
        if (offsets)
            b = origin + offsets[p];
        V right[WIDE];
        UNROLL for (int j = 0; j < vectors; j++) right[j] =
            part ? LOAD_PART(b, part) : LOAD(b + j * LANES);
        UNROLL for (int i = 0; i < rows; i++)
        {
            V left = base[i / 3][i % 3 * a_row] - (V){0};
            UNROLL for (int j = 0; j < vectors; j++) sum[i][j] = FMA(left, right[j], sum[i][j]);
        }
        UNROLL for (int i = 0; i < (rows + 2) / 3; i++) base[i] += a_column;
        if (!offsets)
            b += ldb;
    }
    UNROLL for (int i = 0; i < rows; i++)
    {
        UNROLL for (int j = 0; j < vectors; j++)
        {
            if (part)
                STORE_PART(c + i * ldc, part, sum[i][j]);
            else
                STORE(c + i * ldc + j * LANES, sum[i][j]);
        }
    }
}

/* All columns of a strip of `rows` rows. */
static inline __attribute__((always_inline)) void NAME(strip)(
    const int rows, int64_t n, int64_t k, const T *a, int64_t a_row, int64_t a_column, const T *b,
    int64_t ldb, const int64_t *offsets, int64_t panel, T *c, int64_t ldc, bool accumulate)
{
    int64_t j = 0;
    /* Few rows hide the latency of the multiply-adds only with more vectors. */
    if (rows <= 3 && panel == 2 * LANES)
        for (; j + WIDE * LANES <= n; j += WIDE * LANES)
            NAME(tile)
    (rows, WIDE, 0, k, a, a_row, a_column, b + j, ldb, offsets, c + j, ldc, accumulate);
    b += j / (2 * LANES) * panel;
    for (; j + 2 * LANES <= n; j += 2 * LANES, b += panel)
        NAME(tile)(rows, 2, 0, k, a, a_row, a_column, b, ldb, offsets, c + j, ldc, accumulate);
    if (j + LANES <= n) {
        NAME(tile)(rows, 1, 0, k, a, a_row, a_column, b, ldb, offsets, c + j, ldc, accumulate);
        j += LANES;
        b += LANES;
    }
    if (j < n)
        NAME(tile)
    (rows, 1, (int)(n - j), k, a, a_row, a_column, b, ldb, offsets, c + j, ldc, accumulate);
}

#define STRIP(rows)                                                                                \
    static void NAME(strip_##rows)(int64_t n, int64_t k, const T *a, int64_t a_row,                \
                                   int64_t a_column, const T *b, int64_t ldb, int64_t panel, T *c, \
                                   int64_t ldc, bool accumulate)                                   \
    {                                                                                              \
        NAME(strip)                                                                                \
        (rows, n, k, a, a_row, a_column, b, ldb, NULL, panel, c, ldc, accumulate);                 \
    }                                                                                              \
    static void NAME(strip_at_##rows)(int64_t n, int64_t k, const T *a, int64_t lda, const T *b,   \
                                      const int64_t *offsets, T *c, int64_t ldc, bool accumulate)  \
    {                                                                                              \
        NAME(strip)                                                                                \
        (rows, n, k, a, lda, 1, b, 0, offsets, 2 * LANES, c, ldc, accumulate);                     \
    }
STRIPS(STRIP)
#undef STRIP

/* Strips of equal height: 16 rows are 8 + 8 rather than 14 + 2. */
#define EACH_STRIP(m, call)                                                 \
    for (int64_t s = 0, row = 0, n_ = ((m) + MR - 1) / MR; s < n_; s++) {   \
        int64_t left_ = (m)-row, parts_ = n_ - s;                           \
        int64_t rows = parts_ == 1 ? left_ : (left_ + parts_ - 1) / parts_; \
        call;                                                               \
        row += rows;                                                        \
    }

static void NAME(run)(int64_t m, int64_t n, int64_t k, const T *a, int64_t a_row, int64_t a_column,
                      const T *b, int64_t ldb, int64_t panel, T *c, int64_t ldc, bool accumulate)
{
    static void (*const strips[])(int64_t, int64_t, const T *, int64_t, int64_t, const T *, int64_t,
                                  int64_t, T *, int64_t, bool) = {
#define STRIP(rows) NAME(strip_##rows),
        STRIPS(STRIP)
#undef STRIP
    };
    EACH_STRIP(m, strips[rows - 1](n, k, a + row * a_row, a_row, a_column, b, ldb, panel,
                                   c + row * ldc, ldc, accumulate))
}

static void NAME(run_at)(int64_t m, int64_t n, int64_t k, const T *a, int64_t lda, const T *b,
                         const int64_t *offsets, T *c, int64_t ldc, bool accumulate)
{
    static void (*const strips[])(int64_t, int64_t, const T *, int64_t, const T *, const int64_t *,
                                  T *, int64_t, bool) = {
#define STRIP(rows) NAME(strip_at_##rows),
        STRIPS(STRIP)
#undef STRIP
    };
    EACH_STRIP(
        m, strips[rows - 1](n, k, a + row * lda, lda, b, offsets, c + row * ldc, ldc, accumulate))
}
#undef EACH_STRIP

/* Sum of the lanes, in halves. */
static inline __attribute__((always_inline)) T NAME(horizontal)(V v)
{
    typedef T Q __attribute__((vector_size(16)));
    Q q[VECTOR_BYTES / 16];
    memcpy(q, &v, sizeof q);
    UNROLL for (int w = VECTOR_BYTES / 32; w; w /= 2)
    {
        UNROLL for (int i = 0; i < w; i++) q[i] += q[i + w];
    }
    T s = q[0][0] + q[0][1];
    return sizeof(T) == 8 ? s : s + (q[0][16 / sizeof(T) - 2] + q[0][16 / sizeof(T) - 1]);
}

/*
 * rows x columns dot products of rows of A with the rows b[0], b[1], ... of B, LANES chains each,
 * over `repeats` stretches of k elements that are a_step and b_step apart.
 */
static inline __attribute__((always_inline)) void NAME(dots)(const int rows, const int columns,
                                                             int64_t k, const T *a, int64_t lda,
                                                             const T *const b[DOT_COLUMNS],
                                                             int64_t repeats, int64_t a_step,
                                                             int64_t b_step, T *c, int64_t ldc,
                                                             bool accumulate)
{
    V sum[DOT_ROWS][DOT_COLUMNS];
    UNROLL for (int i = 0; i < rows; i++)
    {
        UNROLL for (int j = 0; j < columns; j++) sum[i][j] = (V){0};
    }
    for (int64_t r = 0; r < repeats; r++) {
        const T *left = a + r * a_step;
        int64_t p = 0, q = r * b_step;
        for (; p + LANES <= k; p += LANES) {
            UNROLL for (int j = 0; j < columns; j++)
            {
                V right = LOAD(b[j] + q + p);
                UNROLL for (int i = 0; i < rows; i++) sum[i][j] =
                    FMA(LOAD(left + i * lda + p), right, sum[i][j]);
            }
        }
        if (p < k) {
            int part = (int)(k - p);
            UNROLL for (int j = 0; j < columns; j++)
            {
                V right = LOAD_PART(b[j] + q + p, part);
                UNROLL for (int i = 0; i < rows; i++) sum[i][j] =
                    FMA(LOAD_PART(left + i * lda + p, part), right, sum[i][j]);
            }
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
    {
        UNROLL for (int j = 0; j < columns; j++)
        {
            T s = NAME(horizontal)(sum[i][j]);
            c[i * ldc + j] = accumulate ? c[i * ldc + j] + s : s;
        }
    }
}

/* Rows of B are ldb apart, or at `offsets`. */
static inline __attribute__((always_inline)) void NAME(dot_any)(int64_t m, int64_t n, int64_t k,
                                                                const T *a, int64_t lda, const T *b,
                                                                int64_t ldb, const int64_t *offsets,
                                                                int64_t repeats, int64_t a_step,
                                                                int64_t b_step, T *c, int64_t ldc,
                                                                bool accumulate)
{
    for (int64_t j = 0; j < n; j += DOT_COLUMNS) {
        const T *right[DOT_COLUMNS];
        for (int64_t q = 0; q < DOT_COLUMNS; q++) {
            int64_t row = j + q < n ? j + q : n - 1;
            right[q] = b + (offsets ? offsets[row] : row * ldb);
        }
        for (int64_t i = 0; i < m;) {
            bool tall = m - i >= DOT_ROWS;
            const T *left = a + i * lda;
            T *out = c + i * ldc + j;
#define DOTS(columns)                                                                            \
    tall ? NAME(dots)(DOT_ROWS, columns, k, left, lda, right, repeats, a_step, b_step, out, ldc, \
                      accumulate)                                                                \
         : NAME(dots)(1, columns, k, left, lda, right, repeats, a_step, b_step, out, ldc,        \
                      accumulate)
            switch (n - j) {
            case 1: DOTS(1); break;
            case 2: DOTS(2); break;
            case 3: DOTS(3); break;
            default: DOTS(4);
            }
#undef DOTS
            i += tall ? DOT_ROWS : 1;
        }
    }
}

static void NAME(dot)(int64_t m, int64_t n, int64_t k, const T *a, int64_t lda, const T *b,
                      int64_t ldb, T *c, int64_t ldc, bool accumulate)
{
    NAME(dot_any)(m, n, k, a, lda, b, ldb, NULL, 1, 0, 0, c, ldc, accumulate);
}

static void NAME(dot_at)(int64_t m, int64_t n, int64_t k, const T *a, int64_t lda, const T *b,
                         const int64_t *offsets, int64_t repeats, int64_t a_step, int64_t b_step,
                         T *c, int64_t ldc, bool accumulate)
{
    NAME(dot_any)(m, n, k, a, lda, b, 0, offsets, repeats, a_step, b_step, c, ldc, accumulate);
}

#undef T
#undef TAG
#undef NAME
#undef V
#undef LANES
#undef LOAD
#undef STORE
#undef FMA
#undef LOAD_PART
#undef STORE_PART
