#include "progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH      24
#define REDRAW_SECONDS 0.1

double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

progress progress_create(int64_t epochs, int64_t steps)
{
    return (progress){.terminal = isatty(STDOUT_FILENO), .epochs = epochs, .steps = steps};
}

void progress_begin_epoch(progress *p)
{
    p->started = p->drawn = seconds_now();
    p->images = p->examples = p->correct = 0;
    p->loss = 0;
}

static double rate(const progress *p)
{
    double elapsed = seconds_now() - p->started;
    return elapsed > 0 ? (double)p->images / elapsed : 0;
}

static double mean(double sum, int64_t count)
{
    return count > 0 ? sum / (double)count : 0;
}

static void draw_bar(const progress *p, int64_t epoch, int64_t step, double images_per_step)
{
    char bar[BAR_WIDTH + 1];
    int filled = (int)(step * BAR_WIDTH / p->steps);
    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    double per_second = rate(p);
    int64_t left = p->steps - step + (p->epochs - epoch - 1) * p->steps;
    double eta = per_second > 0 ? (double)left * images_per_step / per_second : 0;
    printf("\repoch %lld/%lld [%s] loss %.4f  accuracy %5.2f%%  %6.0f images/s  ETA %d:%02d ",
           (long long)epoch + 1, (long long)p->epochs, bar, mean(p->loss, p->examples),
           100 * mean((double)p->correct, p->examples), per_second, (int)eta / 60, (int)eta % 60);
    fflush(stdout);
}

void progress_step(progress *p, int64_t epoch, int64_t step, int64_t images, double loss,
                   int64_t correct)
{
    p->images += images;
    p->examples += images;
    p->loss += loss * (double)images;
    p->correct += correct;
    if (!p->terminal)
        return;
    double now = seconds_now();
    if (now - p->drawn < REDRAW_SECONDS && step < p->steps)
        return;
    p->drawn = now;
    draw_bar(p, epoch, step, (double)images);
}

void progress_end_epoch(progress *p, int64_t epoch, double test_accuracy)
{
    printf(
        "%sepoch %lld/%lld  loss %.4f  accuracy %5.2f%%  %6.0f images/s  test accuracy %5.2f%%\n",
        p->terminal ? "\r\033[K" : "", (long long)epoch + 1, (long long)p->epochs,
        mean(p->loss, p->examples), 100 * mean((double)p->correct, p->examples), rate(p),
        100 * test_accuracy);
    fflush(stdout);
}
