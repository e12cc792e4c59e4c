/*
 * Base64 (RFC 4648): bytes as text that survives any channel made for letters.
 *
 * Three bytes are 24 bits, which are four groups of six. Each group selects one of 64 characters, so
 * the text is a third longer than the data. When the data do not end on a multiple of three, one or
 * two '=' signs fill the last group of four: "M" becomes "TQ==", "Ma" becomes "TWE=" and "Man"
 * becomes "TWFu".
 *
 * The decoder is strict. It refuses characters outside the alphabet, padding in the wrong place and
 * left-over bits that are not zero, so that no two texts decode to the same bytes. A lenient decoder
 * would let an attacker vary a token without changing its meaning.
 *
 * Test: cc -std=c11 -Wall -DSELF_TEST base64.c && ./a.out
 */

#include <stddef.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Writes 4 * ((length + 2) / 3) characters and a final zero to text; returns their number. */
size_t base64_encode(const unsigned char *data, size_t length, char *text)
{
    size_t out = 0;

    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        unsigned long group = (unsigned long)data[i] << 16;
        if (left > 1)
            group |= (unsigned long)data[i + 1] << 8;
        if (left > 2)
            group |= data[i + 2];
        text[out++] = alphabet[group >> 18 & 63];
        text[out++] = alphabet[group >> 12 & 63];
        text[out++] = left > 1 ? alphabet[group >> 6 & 63] : '=';
        text[out++] = left > 2 ? alphabet[group & 63] : '=';
    }
    text[out] = '\0';
    return out;
}

static int value_of(char c)
{
    const char *found = c ? strchr(alphabet, c) : NULL;
    return found ? (int)(found - alphabet) : -1;
}

/*
 * Writes at most 3 * (length / 4) bytes to data. Returns their number, or -1 when the text is not
 * canonical Base64.
 */
long base64_decode(const char *text, size_t length, unsigned char *data)
{
    long out = 0;

    if (length % 4 != 0)
        return -1;
    for (size_t i = 0; i < length; i += 4) {
        int padding = 0;
        if (i + 4 == length && text[i + 3] == '=')
            padding = text[i + 2] == '=' ? 2 : 1;

        unsigned long group = 0;
        for (int k = 0; k < 4; k++) {
            int value = k < 4 - padding ? value_of(text[i + k]) : 0;
            if (value < 0)
                return -1;
            group = group << 6 | (unsigned long)value;
        }
        if ((padding == 1 && (group & 0xFF)) || (padding == 2 && (group & 0xFFFF)))
            return -1;
        data[out++] = (unsigned char)(group >> 16);
        if (padding < 2)
            data[out++] = (unsigned char)(group >> 8);
        if (padding < 1)
            data[out++] = (unsigned char)group;
    }
    return out;
}

#ifdef SELF_TEST
#include <assert.h>
#include <stdio.h>

int main(void)
{
    static const char *pairs[][2] = {
        {"", ""}, {"M", "TQ=="}, {"Ma", "TWE="}, {"Man", "TWFu"}, {"hello world", "aGVsbG8gd29ybGQ="},
    };
    char text[64];
    unsigned char data[64];

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        size_t length = strlen(pairs[i][0]);
        base64_encode((const unsigned char *)pairs[i][0], length, text);
        assert(strcmp(text, pairs[i][1]) == 0);
        assert(base64_decode(text, strlen(text), data) == (long)length);
        assert(memcmp(data, pairs[i][0], length) == 0);
    }
    assert(base64_decode("TQ=", 3, data) == -1);      /* not a multiple of four */
    assert(base64_decode("T===", 4, data) == -1);     /* too much padding */
    assert(base64_decode("TR==", 4, data) == -1);     /* left-over bits are not zero */
    assert(base64_decode("TQ==TQ==", 8, data) == -1); /* padding before the end */
    assert(base64_decode("TW*u", 4, data) == -1);     /* not in the alphabet */
    puts("base64: ok");
    return 0;
}
#endif
