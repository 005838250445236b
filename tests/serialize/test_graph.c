/* Graphs to files and back. */
#include "serialize/files.h"
#include "serialize/samples.h"

#include "core/tensor.h"
#include "graph/graph.h"
#include "serialize/records.h"

static char folder[TEST_PATH_SIZE];
static char path[TEST_PATH_SIZE];

static int setup(void **state)
{
    test_folder_create(folder);
    test_path(path, folder, "graph.tcg");
    return 0;
}

static int teardown(void **state)
{
    test_folder_remove(folder);
    return 0;
}

static void assert_same_text(const tc_graph *a, const tc_graph *b)
{
    char *expected = sample_text(a), *actual = sample_text(b);
    assert_string_equal(expected, actual);
    free(expected);
    free(actual);
}

static void assert_same_node(const tc_graph *a, const tc_graph *b, int32_t index)
{
    tc_value from = tc_graph_node(a, index), to = tc_graph_node(b, index);
    tc_location left = tc_node_location(from), right = tc_node_location(to);
    assert_string_equal(left.file, right.file);
    assert_int_equal(left.line, right.line);
    assert_int_equal(left.outer_line, right.outer_line);
    assert_int_equal(left.outer_file != NULL, right.outer_file != NULL);
    if (left.outer_file)
        assert_string_equal(left.outer_file, right.outer_file);
    assert_int_equal(tc_node_control_count(from), tc_node_control_count(to));
    for (int32_t i = 0; i < tc_node_control_count(from); i++)
        assert_int_equal(tc_node_control(from, i).node, tc_node_control(to, i).node);
    const tc_note *x = tc_graph_node_at(a, index)->notes, *y = tc_graph_node_at(b, index)->notes;
    for (; x && y; x = x->next, y = y->next) {
        assert_string_equal(x->key, y->key);
        assert_string_equal(x->text, y->text);
    }
    assert_null(x);
    assert_null(y);
}

static void assert_same_graph(const tc_graph *a, const tc_graph *b)
{
    assert_true(tc_graph_hash(a) == tc_graph_hash(b));
    assert_true(tc_graph_seed(a) == tc_graph_seed(b));
    assert_same_text(a, b);
    assert_int_equal(tc_graph_node_count(a), tc_graph_node_count(b));
    for (int32_t i = 0; i < tc_graph_node_count(a); i++)
        assert_same_node(a, b, i);
    assert_int_equal(a->captures.count, b->captures.count);
    for (size_t i = 0; i < a->captures.count; i++) {
        assert_int_equal(a->captures.data[i].outer.node, b->captures.data[i].outer.node);
        assert_int_equal(a->captures.data[i].outer.output, b->captures.data[i].outer.output);
        assert_int_equal(a->captures.data[i].parameter, b->captures.data[i].parameter);
    }
    assert_int_equal(tc_graph_function_count(a), tc_graph_function_count(b));
    for (int32_t i = 0; i < tc_graph_function_count(a); i++) {
        assert_string_equal(tc_function_name(tc_graph_function(a, i)),
                            tc_function_name(tc_graph_function(b, i)));
        assert_same_graph(tc_graph_function(a, i), tc_graph_function(b, i));
    }
}

static void test_graph_round_trip(void **state)
{
    tc_graph *graph = sample_graph(), *loaded;
    assert_ok(tc_graph_save(graph, path));
    assert_ok(tc_graph_load(path, NULL, &loaded));
    assert_same_graph(graph, loaded);
    tc_graph_release(graph);
    /* The loaded one is as good as the first: it can be built on, saved and loaded again. */
    tc_value x = tc_graph_find(loaded, "x");
    assert_true(tc_value_ok(tc_call(loaded, "outer", TC_VALUES(x))));
    assert_true(
        tc_value_ok(tc_call(loaded, "unused", TC_VALUES(tc_zeros(loaded, TC_F32, TC_SHAPE(4))))));
    tc_graph *again;
    assert_ok(tc_graph_save(loaded, path));
    assert_ok(tc_graph_load(path, NULL, &again));
    assert_same_graph(loaded, again);
    tc_graph_release(loaded);
    tc_graph_release(again);
}

static void test_graph_round_trip_empty(void **state)
{
    tc_graph *graph = tc_graph_create(), *loaded;
    assert_ok(tc_graph_save(graph, path));
    assert_ok(tc_graph_load(path, NULL, &loaded));
    assert_same_graph(graph, loaded);
    tc_graph_release(graph);
    tc_graph_release(loaded);
}

static void test_graph_save_is_deterministic(void **state)
{
    tc_graph *graph = sample_graph(), *loaded;
    char other[TEST_PATH_SIZE];
    test_path(other, folder, "other.tcg");
    assert_ok(tc_graph_save(graph, path));
    assert_ok(tc_graph_load(path, NULL, &loaded));
    assert_ok(tc_graph_save(loaded, other));
    file_bytes a = file_read(path), b = file_read(other);
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
    free(a.data);
    free(b.data);
    tc_graph_release(graph);
    tc_graph_release(loaded);
}

/* Constants lie in the mapped file, aligned, and outlive graph and file. */
static void test_graph_constants_are_mapped(void **state)
{
    tc_graph *graph = sample_graph(), *loaded;
    assert_ok(tc_graph_save(graph, path));
    assert_ok(tc_graph_load(path, NULL, &loaded));
    tc_tensor *kept[256];
    size_t count = 0;
    for (size_t i = 0; i < loaded->tensors.count; i++) {
        tc_tensor *tensor = loaded->tensors.data[i];
        if (tc_tensor_bytes(tensor) == 0)
            continue;
        assert_true(tc_tensor_is_read_only(tensor));
        assert_int_equal((uintptr_t)tc_tensor_data(tensor) % 64, 0);
        assert_in_range(count, 0, 255);
        kept[count++] = tc_tensor_retain(tensor);
    }
    assert_true(count > 2 * sample_dtype_count);
    assert_int_equal(remove(path), 0);
    tc_graph_release(loaded);
    for (size_t i = 0, k = 0; i < graph->tensors.count; i++) {
        tc_tensor *tensor = graph->tensors.data[i];
        if (tc_tensor_bytes(tensor) == 0)
            continue;
        assert_memory_equal(tc_tensor_data(tensor), tc_tensor_data(kept[k]),
                            tc_tensor_bytes(tensor));
        tc_tensor_release(kept[k++]);
    }
    tc_graph_release(graph);
}

/* Any protobuf tool reads our files: here the generated code. */
static void test_graph_decodes_as_protobuf(void **state)
{
    tc_graph *graph = sample_graph();
    assert_ok(tc_graph_save(graph, path));
    file_bytes bytes = file_read(path);
    tc_wire wire = {bytes.data, bytes.size};
    uint64_t length, count = 0, tensors = 0;
    uint32_t chain = 0;
    bool ended = false;
    while (wire.size > 0) {
        assert_false(ended);
        assert_true(tc_wire_read_varint(&wire, &length));
        assert_true(length <= wire.size);
        Tensorc__Record *record = tensorc__record__unpack(NULL, (size_t)length, wire.data);
        assert_non_null(record);
        assert_int_equal(record->base.n_unknown_fields, 0);
        assert_int_equal(record->crc32c, tc_crc32c(0, wire.data, (size_t)length - 5));
        switch (record->content_case) {
        case TENSORC__RECORD__CONTENT_HEADER:
            assert_int_equal(count, 0);
            assert_string_equal(record->header->magic, "tensorc");
            assert_int_equal(record->header->kind, TENSORC__KIND__KIND_GRAPH);
            break;
        case TENSORC__RECORD__CONTENT_TENSOR: {
            size_t elements = 1;
            for (size_t i = 0; i < record->tensor->n_shape; i++)
                elements *= (size_t)record->tensor->shape[i];
            assert_int_equal(record->tensor->data.len * 8,
                             elements * (size_t)tc_dtype_bits((tc_dtype)record->tensor->dtype));
            assert_memory_equal(record->tensor->data.data,
                                tc_tensor_data(graph->tensors.data[tensors]),
                                record->tensor->data.len);
            tensors++;
            break;
        }
        case TENSORC__RECORD__CONTENT_GRAPH:
            assert_int_equal(record->graph->n_nodes, graph->nodes.count);
            assert_int_equal(record->graph->n_functions, 4);
            break;
        case TENSORC__RECORD__CONTENT_END:
            assert_int_equal(record->end->records, count);
            assert_int_equal(record->end->chain, chain);
            ended = true;
            break;
        default: fail_msg("record %d", record->content_case);
        }
        uint8_t crc[4];
        tc_wire_put_fixed32(crc, record->crc32c);
        chain = tc_crc32c(chain, crc, 4);
        count++;
        tensorc__record__free_unpacked(record, NULL);
        wire.data += length;
        wire.size -= length;
    }
    assert_true(ended);
    assert_int_equal(tensors, graph->tensors.count);
    free(bytes.data);
    tc_graph_release(graph);
}

static void test_graph_save_refuses(void **state)
{
    tc_graph *graph = tc_graph_create();
    assert_status(tc_graph_save(NULL, path), TC_INVALID_ARGUMENT);
    assert_status(tc_graph_save(graph, NULL), TC_INVALID_ARGUMENT);
    assert_status(tc_graph_save(graph, "/no/such/folder/graph.tcg"), TC_NOT_FOUND);
    assert_error_contains("/no/such/folder");
    tc_graph *body = tc_function_begin(graph, "open");
    assert_status(tc_graph_save(graph, path), TC_FAILED_PRECONDITION);
    assert_error_contains("'open' was begun but not ended");
    assert_status(tc_graph_save(body, path), TC_INVALID_ARGUMENT);
    tc_graph_release(graph);

    graph = tc_graph_create();
    tc_value x = tc_zeros(graph, TC_F32, TC_SCALAR);
    tc_annotate(x, "note", "\xff\xfe");
    assert_status(tc_graph_save(graph, path), TC_INVALID_ARGUMENT);
    assert_error_contains("UTF-8");
    tc_graph_release(graph);

    graph = tc_graph_create();
    tc_placeholder(graph, "x y", TC_F32, TC_SCALAR);
    assert_status(tc_graph_save(graph, path), TC_INVALID_ARGUMENT);
    assert_error_contains("test_graph.c");
    tc_graph_release(graph);
    assert_int_equal(remove(path), -1);

    /* A folder in the place of the file. */
    graph = tc_graph_create();
    assert_status(tc_graph_save(graph, folder), TC_FAILED_PRECONDITION);
    tc_graph_release(graph);
}

static void test_graph_load_refuses(void **state)
{
    tc_graph *graph = (tc_graph *)folder;
    assert_status(tc_graph_load(path, NULL, &graph), TC_NOT_FOUND);
    assert_null(graph);
    assert_error_contains(path);
    assert_status(tc_graph_load(folder, NULL, &graph), TC_FAILED_PRECONDITION);
    assert_status(tc_graph_load("/dev/null", NULL, &graph), TC_INVALID_ARGUMENT);
    assert_status(tc_graph_load(NULL, NULL, &graph), TC_INVALID_ARGUMENT);
    assert_status(tc_graph_load(path, NULL, NULL), TC_INVALID_ARGUMENT);
    test_file_write(path, "", 0);
    assert_status(tc_graph_load(path, NULL, &graph), TC_DATA_LOSS);
    assert_error_contains("the file is empty");
    const char other[] = "\x7f"
                         "ELF and much more that is no graph at all";
    test_file_write(path, other, sizeof other);
    assert_status(tc_graph_load(path, NULL, &graph), TC_DATA_LOSS);
    assert_error_contains("not a file of libtensorc");
}

/* Every function called by the next one: what may not be inferred for ever must not be loaded. */
static tc_graph *chain_of_calls(int length, int calls)
{
    tc_graph *graph = tc_graph_create();
    char name[32], before[32];
    for (int i = 0; i < length; i++) {
        snprintf(name, sizeof name, "f%d", i);
        snprintf(before, sizeof before, "f%d", i - 1);
        tc_graph *body = tc_function_begin(graph, name);
        tc_value x = tc_parameter(body, "x", TC_F32, TC_SCALAR);
        for (int c = 0; c < calls && i > 0; c++)
            x = tc_call(body, before, TC_VALUES(x));
        tc_function_end(body, TC_VALUES(x));
    }
    assert_ok(tc_graph_status(graph));
    return graph;
}

static void test_graph_limits_of_calls(void **state)
{
    tc_graph *graph = chain_of_calls(64, 1), *loaded;
    assert_ok(tc_graph_save(graph, path));
    assert_ok(tc_graph_load(path, NULL, &loaded));
    assert_true(tc_graph_hash(graph) == tc_graph_hash(loaded));
    tc_graph_release(graph);
    tc_graph_release(loaded);
    graph = chain_of_calls(65, 1);
    assert_status(tc_graph_save(graph, path), TC_INVALID_ARGUMENT);
    assert_error_contains("more than 64 functions into each other");
    tc_graph_release(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_graph_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_graph_round_trip_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_graph_save_is_deterministic, setup, teardown),
        cmocka_unit_test_setup_teardown(test_graph_constants_are_mapped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_graph_decodes_as_protobuf, setup, teardown),
        cmocka_unit_test_setup_teardown(test_graph_save_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_graph_load_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_graph_limits_of_calls, setup, teardown),
    };
    return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
