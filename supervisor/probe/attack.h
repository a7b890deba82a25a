/* An attack is a program of its own when it is compiled alone, and one of many in the probe (main.c). */
#ifndef ATTACK_H
#define ATTACK_H

#ifdef FUMEHOOD_PROBE
#define ATTACK(name) int attack_##name
#else
#define ATTACK(name) int main
#endif

#endif
