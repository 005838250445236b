/*
 * Batches: one thread fills a ring of slots in order, the caller takes them in order. A slot
 * belongs to the thread while it is not `full`, to the caller while it is; the lock guards only
 * that hand-over.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include <tensorc/data.h>

#include "convert.h"
#include "fail.h"
#include "shuffle.h"

#define MAX_PREFETCH 4096

typedef struct slot {
    tc_tensor **whole;   /* a full batch of each column */
    tc_tensor **partial; /* the batch at the end of an epoch; NULL when all are full */
    int64_t rows;
    bool full;
} slot;

struct tc_batches {
    tc_column *columns;
    size_t n_columns;
    int64_t rows;
    int64_t batch_size;
    int64_t per_epoch;
    uint64_t seed;
    bool shuffle;
    int64_t *order; /* of `order_epoch`; the thread's */
    int64_t order_epoch;
    slot *slots;
    int32_t n_slots;

    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop;
    tc_batches_position fill; /* what the thread fills next */
    int32_t fill_slot;
    uint64_t generation;       /* raised by seek: a slot filled before is not handed over */
    tc_batches_position given; /* the caller's position */
    int32_t give_slot;
    bool held; /* the slot before give_slot is with the caller */
};

/* `count` zeroed elements, NULL when memory is exhausted. */
static void *allocate(size_t count, size_t size)
{
    if (count > SIZE_MAX / size)
        return NULL;
    void *memory = tc_memory_allocate(count * size);
    if (memory)
        memset(memory, 0, count * size);
    return memory;
}

static int64_t rows_of(const tc_batches *b, int64_t batch)
{
    int64_t left = b->rows - batch * b->batch_size;
    return left < b->batch_size ? left : b->batch_size;
}

/*
 * The thread
 */
static void fill_slot(tc_batches *b, slot *s, tc_batches_position position)
{
    if (b->shuffle && b->order_epoch != position.epoch) {
        tc_shuffle(b->order, b->rows, b->seed, position.epoch);
        b->order_epoch = position.epoch;
    }
    int64_t first = position.batch * b->batch_size;
    s->rows = rows_of(b, position.batch);
    for (size_t c = 0; c < b->n_columns; c++) {
        tc_tensor *to = s->rows == b->batch_size ? s->whole[c] : s->partial[c];
        tc_convert_rows(&b->columns[c], b->shuffle ? b->order + first : NULL, first, s->rows,
                        tc_tensor_data(to));
    }
}

static tc_batches_position after(const tc_batches *b, tc_batches_position position)
{
    if (++position.batch == b->per_epoch) {
        position.batch = 0;
        position.epoch++;
    }
    return position;
}

static void *prepare(void *argument)
{
    tc_batches *b = argument;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (!b->stop && b->slots[b->fill_slot].full)
            pthread_cond_wait(&b->changed, &b->lock);
        if (b->stop)
            break;
        slot *s = &b->slots[b->fill_slot];
        tc_batches_position position = b->fill;
        uint64_t generation = b->generation;
        pthread_mutex_unlock(&b->lock);
        fill_slot(b, s, position);
        pthread_mutex_lock(&b->lock);
        if (generation != b->generation)
            continue;
        s->full = true;
        b->fill = after(b, position);
        b->fill_slot = (b->fill_slot + 1) % b->n_slots;
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/*
 * Creating and destroying
 */
static tc_status read_column(const tc_column *from, size_t i, tc_column *to, int64_t *rows)
{
    if (!from->data)
        return tc_data_fail(TC_INVALID_ARGUMENT, "batches: column %zu has no tensor", i);
    const tc_shape *shape = tc_tensor_shape(from->data);
    if (shape->rank < 1)
        return tc_data_fail(TC_INVALID_ARGUMENT, "batches: column %zu is a scalar; rows are axis 0",
                            i);
    if (i > 0 && shape->dims[0].size != *rows)
        return tc_data_fail(TC_INVALID_ARGUMENT,
                            "batches: column %zu has %lld rows, but column 0 has %lld", i,
                            (long long)shape->dims[0].size, (long long)*rows);
    *rows = shape->dims[0].size;
    *to = *from;
    if (to->dtype == TC_DTYPE_INVALID)
        to->dtype = tc_tensor_dtype(from->data);
    if (to->scale == 0)
        to->scale = 1;
    if (!tc_can_convert(to))
        return tc_data_fail(
            TC_INVALID_ARGUMENT,
            "batches: column %zu cannot be delivered from %s as %s; possible are f32, f64, i32 and "
            "i64 from all but 16-bit floats, and its own dtype without scale and offset",
            i, tc_dtype_name(tc_tensor_dtype(from->data)), tc_dtype_name(to->dtype));
    tc_tensor_retain(to->data);
    return TC_OK;
}

/* One tensor [rows, ...] per column. */
static tc_status create_tensors(const tc_batches *b, int64_t rows, tc_tensor ***out)
{
    tc_tensor **tensors = allocate(b->n_columns, sizeof *tensors);
    if (!tensors)
        return tc_data_fail(TC_RESOURCE_EXHAUSTED, "batches: out of memory");
    *out = tensors;
    for (size_t c = 0; c < b->n_columns; c++) {
        tc_shape shape = *tc_tensor_shape(b->columns[c].data);
        shape.dims[0].size = rows;
        TC_TRY(tc_tensor_create(b->columns[c].dtype, shape, &tensors[c]));
    }
    return TC_OK;
}

static void release_tensors(const tc_batches *b, tc_tensor **tensors)
{
    for (size_t c = 0; tensors && c < b->n_columns; c++)
        tc_tensor_release(tensors[c]);
    tc_memory_free(tensors);
}

static tc_status create_slots(tc_batches *b)
{
    int64_t last = rows_of(b, b->per_epoch - 1);
    b->slots = allocate((size_t)b->n_slots, sizeof *b->slots);
    if (!b->slots)
        return tc_data_fail(TC_RESOURCE_EXHAUSTED, "batches: out of memory");
    for (int32_t i = 0; i < b->n_slots; i++) {
        TC_TRY(create_tensors(b, b->batch_size, &b->slots[i].whole));
        if (last != b->batch_size)
            TC_TRY(create_tensors(b, last, &b->slots[i].partial));
    }
    if (!b->shuffle)
        return TC_OK;
    b->order_epoch = -1;
    b->order = allocate((size_t)b->rows, sizeof *b->order);
    return b->order ? TC_OK : tc_data_fail(TC_RESOURCE_EXHAUSTED, "batches: out of memory");
}

static tc_status start_thread(tc_batches *b)
{
    /* Signals are the program's business, not this thread's. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    b->started = pthread_create(&b->thread, NULL, prepare, b) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return b->started ? TC_OK
                      : tc_data_fail(TC_RESOURCE_EXHAUSTED, "batches: no thread can be started");
}

static tc_status set_up(tc_batches *b, const tc_column *columns, size_t count,
                        const tc_batches_options *o)
{
    b->columns = allocate(count, sizeof *b->columns);
    if (!b->columns)
        return tc_data_fail(TC_RESOURCE_EXHAUSTED, "batches: out of memory");
    for (size_t i = 0; i < count; i++) {
        TC_TRY(read_column(&columns[i], i, &b->columns[i], &b->rows));
        b->n_columns++;
    }
    if (o->batch_size < 0 || o->prefetch < 0 || o->prefetch > MAX_PREFETCH)
        return tc_data_fail(TC_INVALID_ARGUMENT,
                            "batches: batch_size must be positive and prefetch from 0 to %d",
                            MAX_PREFETCH);
    b->batch_size = o->batch_size ? o->batch_size : 32;
    b->n_slots = (o->prefetch ? o->prefetch : 4) + 1; /* one more is with the caller */
    b->seed = o->seed;
    b->shuffle = !o->no_shuffle;
    if (o->keep_partial && b->batch_size > b->rows && b->rows > 0)
        b->batch_size = b->rows;
    b->per_epoch = b->rows / b->batch_size;
    if (o->keep_partial && b->rows % b->batch_size != 0)
        b->per_epoch++;
    if (b->per_epoch == 0)
        return tc_data_fail(
            TC_INVALID_ARGUMENT,
            "batches: %lld rows are less than one batch of %lld; keep_partial would "
            "deliver them",
            (long long)b->rows, (long long)b->batch_size);
    TC_TRY(create_slots(b));
    return start_thread(b);
}

tc_status tc_batches_create(const tc_column *columns, size_t count,
                            const tc_batches_options *options, tc_batches **out)
{
    if (out)
        *out = NULL;
    if (!columns || count == 0 || !out)
        return tc_data_fail(TC_INVALID_ARGUMENT, "batches: no columns, or out is NULL");
    TC_OPTIONS(tc_batches_options, o, options);
    tc_batches *b = allocate(1, sizeof *b);
    if (!b)
        return tc_data_fail(TC_RESOURCE_EXHAUSTED, "batches: out of memory");
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    tc_status status = set_up(b, columns, count, &o);
    if (status != TC_OK) {
        tc_batches_destroy(b);
        return status;
    }
    *out = b;
    return TC_OK;
}

void tc_batches_destroy(tc_batches *b)
{
    if (!b)
        return;
    if (b->started) {
        pthread_mutex_lock(&b->lock);
        b->stop = true;
        pthread_cond_broadcast(&b->changed);
        pthread_mutex_unlock(&b->lock);
        pthread_join(b->thread, NULL);
    }
    for (int32_t i = 0; b->slots && i < b->n_slots; i++) {
        release_tensors(b, b->slots[i].whole);
        release_tensors(b, b->slots[i].partial);
    }
    for (size_t c = 0; c < b->n_columns; c++)
        tc_tensor_release(b->columns[c].data);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->changed);
    tc_memory_free(b->slots);
    tc_memory_free(b->columns);
    tc_memory_free(b->order);
    tc_memory_free(b);
}

/*
 * The caller
 */

/* Gives the slot that the caller has held back to the thread; the lock is held. */
static void give_back(tc_batches *b)
{
    if (!b->held)
        return;
    b->slots[(b->give_slot + b->n_slots - 1) % b->n_slots].full = false;
    b->held = false;
    pthread_cond_broadcast(&b->changed);
}

tc_status tc_batches_next(tc_batches *b, tc_tensor **columns)
{
    if (!b || !columns)
        return tc_data_fail(TC_INVALID_ARGUMENT, "batches: batches or columns is NULL");
    pthread_mutex_lock(&b->lock);
    give_back(b);
    if (b->given.batch == b->per_epoch) {
        b->given = (tc_batches_position){.epoch = b->given.epoch + 1, .batch = 0};
        pthread_mutex_unlock(&b->lock);
        return TC_OUT_OF_RANGE;
    }
    slot *s = &b->slots[b->give_slot];
    while (!s->full)
        pthread_cond_wait(&b->changed, &b->lock);
    b->give_slot = (b->give_slot + 1) % b->n_slots;
    b->given.batch++;
    b->held = true;
    pthread_mutex_unlock(&b->lock);
    tc_tensor **tensors = s->rows == b->batch_size ? s->whole : s->partial;
    for (size_t c = 0; c < b->n_columns; c++)
        columns[c] = tensors[c];
    return TC_OK;
}

int64_t tc_batches_per_epoch(const tc_batches *b)
{
    return b ? b->per_epoch : 0;
}

tc_batches_position tc_batches_tell(const tc_batches *b)
{
    return b ? b->given : (tc_batches_position){0};
}

tc_status tc_batches_seek(tc_batches *b, tc_batches_position position)
{
    if (!b || position.epoch < 0 || position.batch < 0 || position.batch > b->per_epoch)
        return tc_data_fail(
            TC_OUT_OF_RANGE,
            "batches: there is no position epoch %lld, batch %lld; an epoch has %lld",
            (long long)position.epoch, (long long)position.batch,
            (long long)(b ? b->per_epoch : 0));
    pthread_mutex_lock(&b->lock);
    b->generation++;
    for (int32_t i = 0; i < b->n_slots; i++)
        b->slots[i].full = false;
    b->held = false;
    b->given = position;
    b->fill = position;
    if (position.batch == b->per_epoch)
        b->fill = (tc_batches_position){.epoch = position.epoch + 1, .batch = 0};
    /* The thread may still be writing to its slot; it starts over on the same one. */
    b->give_slot = b->fill_slot;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    return TC_OK;
}
