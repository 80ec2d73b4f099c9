package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

func main() {
	file, err := os.Open("events.ndjson")
	if err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		event, err := UnmarshalClickEvent(lines.Bytes())
		if err != nil {
			panic(err)
		}
		var query []string
		if event.Route != nil && event.Route.Params != nil {
			for _, q := range event.Route.Params.Query {
				query = append(query, q.Name+"="+q.Value)
			}
		}
		fmt.Println(event.ID, strings.Join(query, "&"))
	}
}
