// Every case of kafkajs. Arguments: HOST:PORT [CASE]...

import { run } from '../cases.mjs'
import { cases as admin } from './admin.mjs'
import { cases as consume } from './consume.mjs'
import { cases as groups } from './groups.mjs'
import { cases as produce } from './produce.mjs'

run('kafkajs', { ...groups, ...admin, ...consume, ...produce })
